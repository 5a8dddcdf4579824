"""Tables and pictures of results; matplotlib is imported only when a picture is drawn."""
