"""Pixels: decoding, transcoding and rendering (PS3.5 8, PS3.3 C.7.6.3, C.11; PS3.18 10.4.1.1)."""
