"""The configuration of a study: one pydantic model for each section, and the reference made from them."""
