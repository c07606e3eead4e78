"""What Keyferry's services share: the contract between them, and the plumbing."""
