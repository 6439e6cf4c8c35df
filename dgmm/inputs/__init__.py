"""What users bring, made rows of features; what rows are given, brought back to the shape and labels of the input."""
