"""Announces anycast host routes through ExaBGP while, and only while, the service behind them really works."""

__version__ = "0.1.0"
