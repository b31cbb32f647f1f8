"""Pages of a run: one HTML file each with its pictures inside, readable without a network and without scripts."""
