"""The page at ``/ui``: what the monitors know, for people, drawn in the browser from the record of ``/v1/monitor``."""
