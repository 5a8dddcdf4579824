"""The sentences of the travel corpus; `travel.grammar` is the way in."""
