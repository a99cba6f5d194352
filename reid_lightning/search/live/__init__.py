"""Cameras that are watched for weeks: each registers what it sees, and what is on a watch list is told to others.

cameras -> pool -> worker (a process) -> camera_loop (a thread a camera) -> registration -> spool -> delivery -> senders
"""
