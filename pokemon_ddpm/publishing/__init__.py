"""What leaves the house: cards, pushes to the Hub, Spaces, ONNX files and the page for a web server."""
