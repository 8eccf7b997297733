"""YAML in, a validated configuration out. Every problem has its file, line and column.

load      the whole way: files to core.model.Config
source    YAML to plain values with positions; syntax explains its errors
merge     the main file and conf.d as one tree
shape     the tree to the models; hints and words explain an unknown key; report puts problems into words
translate the models to the core's values, a module for each section; secrets and programs look at files
models    the keys, with their defaults and meanings; types are their values
schema, reference, diff    for editors, for readers, for ``plan``
"""

from anycast_agent.config.load import load, load_texts
from anycast_agent.config.loaded import Loaded, ProcessSettings
from anycast_agent.config.problems import ConfigError, Problem

__all__ = ["ConfigError", "Loaded", "Problem", "ProcessSettings", "load", "load_texts"]
