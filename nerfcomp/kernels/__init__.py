"""The hot operations: each a torch reference and faster twins behind one signature."""
