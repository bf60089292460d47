"""Which devices lie, and how one knows: pure rules over what devices did, hour by hour and day by day.

events of a day ─► days: a bay's course ─► activity: how much a lot's bays changed ─┐
signs of life, vitals ─► a device's day ────────────────────────────────────────────┼─► learning: each one's own past
                                                                                    └─► rules: what is wrong now
"""
