"""From records (pandas frames) to tables, figures and pages; neither torch nor ray is imported here."""
