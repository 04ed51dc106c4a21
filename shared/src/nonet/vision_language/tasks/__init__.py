"""What image-text models are fine-tuned for and measured on: retrieval, questions, captions, pairs, boxes."""
