"""What was said of volumes, and what would help where it is bad: for the command line and the live page alike."""
