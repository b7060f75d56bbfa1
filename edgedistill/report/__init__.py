"""What a build says about itself: one schema, and terminal, Markdown and HTML made from it."""
