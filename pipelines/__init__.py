"""What a saved model takes along: the pipeline, its conditioner and network, and the files that these import."""
