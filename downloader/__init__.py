"""The downloader: live streams into the store."""
