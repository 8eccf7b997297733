"""YAML in, a validated configuration out: every problem with its file, line and column."""

from anycast_agent.config.load import Loaded, ProcessSettings, load, load_texts
from anycast_agent.config.problems import ConfigError, Problem

__all__ = ["ConfigError", "Loaded", "Problem", "ProcessSettings", "load", "load_texts"]
