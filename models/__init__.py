"""Pure numerics, batched over series: fit on the past, score or predict."""
