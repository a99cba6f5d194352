"""Pictures in tar files of bounded size, for sets that are too many files: written once, read at known offsets.

A folder of shards, written by `reid data shards` and read by `data=shards`, holds
`train-000000.tar`, ..., `query-...`, `gallery-...`, the index `index.npz` and `SHA256SUMS` (for `sha256sum -c`).
The tar files are plain ones in WebDataset's layout: a picture is two members with the same key behind each other,
`<key>.jpg` (or .png, ...), the bytes of its file, and `<key>.json` with `identity`, `splits`, `source` (its file) and,
where known, `camera`, `track`, `colour`, `type` and `viewpoint`. Keys are a running number and the name of the file.

The index says where each picture's bytes lie, and keeps the records in the order of the data set they were made of.
So a picture is one read at a known place, and batches, their order and how a training resumes are those of loose files.
An identity's pictures lie next to each other, identities in a random order: the K pictures of one are near on the disk,
and each shard by itself is a random sample of identities.
"""
