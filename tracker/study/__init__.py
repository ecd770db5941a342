"""The paper floor: what a study is, before any network, database or server exists.

Standard library, yaml and pydantic only; importing it costs a tenth of a second.
"""
