"""Pre-training of image-text models on pairs, and of a patch detector on regions beside them."""
