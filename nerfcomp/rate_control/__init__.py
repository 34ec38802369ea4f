"""Bits against decibels: which weight gets how many, and which setting meets a target."""
