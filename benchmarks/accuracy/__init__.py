"""How often the service is right, on pings whose place is known: `python -m benchmarks.accuracy --help`.

    labelled pings - labelled - measure (any number of resolvers, one pass) - metrics - report - tables, JSON, Markdown

What is kept grows with the number of scenarios, rows and confidences, never with the number of pings.
"""
