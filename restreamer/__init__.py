"""The restreamer: the store as playlists, segments and cuts over HTTP."""
