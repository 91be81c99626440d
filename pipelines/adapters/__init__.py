"""One outside system a file. Adapters know no Prefect, no settings and not each other."""
