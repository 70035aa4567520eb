"""The tests mirror the tree of the package; what spans it stands at the top."""
