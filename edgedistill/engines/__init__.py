"""What runs a model for elicitation and scoring. One file per engine; each offers `open_engine(model) -> Engine`."""
