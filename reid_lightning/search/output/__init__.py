"""What a search and a registration leave behind: files, pictures, an annotated video, and words."""
