"""Text classifiers: their data, a BERT to compress, a small student. Imported only when a text model is asked for."""
