"""Who is who: one person across the hospitals of the province."""
