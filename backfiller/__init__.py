"""Other nodes' stores into ours."""
