"""What users watch: TensorBoard (a run per trial, one for the search) and the terminal."""
