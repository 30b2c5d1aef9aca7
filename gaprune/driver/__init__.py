"""One search from options to a saved front: sets the other packages to work, owns no method of its own."""
