"""What a user runs: each recipe is a module with a command line of its own."""
