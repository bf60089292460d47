-- Opening hours that nobody can read would stop every reader of the registry: they are refused where they are written.
CREATE FUNCTION is_opening(opening jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT opening IS NULL OR CASE jsonb_typeof(opening)
        WHEN 'array' THEN NOT EXISTS (
            SELECT FROM jsonb_array_elements(opening) AS element (hours)
            WHERE NOT coalesce(
                jsonb_typeof(hours -> 'days') = 'array'
                AND jsonb_array_length(hours -> 'days') > 0
                AND NOT EXISTS (SELECT FROM jsonb_array_elements(hours -> 'days') AS day (of_week) WHERE of_week::text !~ '^[1-7]$')
                AND jsonb_typeof(hours -> 'from') = 'string'
                AND hours ->> 'from' ~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
                AND jsonb_typeof(hours -> 'until') = 'string'
                AND hours ->> 'until' ~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$',
                false
            )
        )
        ELSE false
    END
$$;
ALTER TABLE lots ADD CONSTRAINT lots_opening_readable CHECK (is_opening(opening));
