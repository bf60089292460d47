"""Talking to the ETC clearing centre: frames, messages, packages, status lists (pure).

    transactions ──pack──► package ──frame──► centre          at most 100 records or 5 minutes, whichever is first
                                     ◄── response 1-8          packages.POLICIES says what follows from each
                                     ◄── bookkeeping           only disputed records are listed, all others are booked
                                     ◄── dispute decision      after two working days, final: paid or bad debt
                                     ◄── clearing totals       of one ClearTargetDate: what the centre pays for that day
                                     ◄── status list           cards and OBUs that lanes must refuse

The sequence, the results, the dispute reasons and the frame's head are those of the Jiangsu settlement system as its
public source shows them (hh9net/etc, CenterSettlement-go). What that source does not say is our assumption and says so
where it stands.
"""
