"""How a data set becomes rows: schema, data sets, privileged information, leak guard."""
