"""A month of the lots with lanes: true visits, what the lanes report of them, and what goes wrong on the way.

    visits.py    who parked where, from when until when, and how they pay: the truth
    faults.py    which visits, records and messages go wrong, and how
    records.py   lane controllers write their numbered records and hourly totals: the messages

Everything follows from one seed; nothing here has read a table of the platform.
"""
