"""Learning from images, videos and text together: the functions that pre-training objectives are made of."""
