"""What a trained model is worth: views, sweeps, rate-distortion differences, complexity, reports."""
