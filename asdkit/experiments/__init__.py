"""Experiments: many machines, systems and seeds; what their tables say of the method, and of the report's claims."""
