"""Shared tensor code: the one folder that may import torch at module top."""
