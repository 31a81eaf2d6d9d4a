"""The operators' API and web page."""
