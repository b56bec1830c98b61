"""What others see of a model: cards, pushes to the Hub, Spaces, ONNX files and the page for a web server."""
