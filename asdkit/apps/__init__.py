"""Applications: the command line, the tuning panel, the HTML pages and the folder that is watched. Nothing imports them."""
