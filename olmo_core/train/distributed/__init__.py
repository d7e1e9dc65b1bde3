"""Several ranks as one run: how they meet, share batches and weights, and sum in a fixed order where bits count."""
