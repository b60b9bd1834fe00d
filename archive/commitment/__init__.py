"""Storage commitment: requests that are kept until their result is delivered (PS3.4 J)."""
