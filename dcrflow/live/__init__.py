"""A campaign while it runs: its state, the page ``/dcrflow`` on dask's dashboard, the widget of notebooks, `watch`.

What happens in a run are its events: the lines of its journal, and a few that the journal does not need (what was
begun, footprints, thumbnails). `state.CampaignState` sums them up.

=================================  =====================================================================================
process                            modules
=================================  =====================================================================================
the client, which runs a campaign  `reporter`: a thread that sums up the events, and sends the sums to the scheduler;
                                   `subjects`, `sky`: what the map and the pictures show; `notebook`: the widget
the scheduler                      `plugin`: keeps the last sums of each run, and sums up nothing; `routes`, `metrics`,
                                   `workers`: serve them, with what the scheduler knows of its workers
`dcrflow watch`                    `follow`: asks the scheduler, or sums up the events in a store's journals
any of these                       `state`, `places`, `timeline`, `checked`
=================================  =====================================================================================
"""
