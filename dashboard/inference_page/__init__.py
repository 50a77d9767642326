"""The panels of the page Inference, and what they share."""
