"""Pages of a run: one HTML file each with its pictures inside, readable without a network and without scripts.

The page of a long video has a script, which only moves its player; the video lies beside it.
"""
