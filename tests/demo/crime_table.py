"""The crime list as a table: the YAML that makes a row a record, the types of its columns in SQL, and
ten rows that a query gave before there was tailraced."""

# Under `record:` of a source.
RECORD = """\
      crime_time:  {from: cdatetime, parse: "%m/%d/%y %H:%M", print: "%Y/%m/%d %H:%M:%S"}
      address:     {from: address}
      district:    {from: district, type: int}
      beat:        {from: beat, trim: true}
      grid:        {from: grid, type: int}
      description: {from: crimedescr}
      crime_id:    {from: ucr_ncic_code, type: int}
      latitude:    {from: latitude, type: double}
      longitude:   {from: longitude, type: double}
      location:
        lat: {from: latitude, type: double}
        lon: {from: longitude, type: double}
      crime_year:  {from: cdatetime, parse: "%m/%d/%y %H:%M", print: "%Y"}
      crime_month: {from: cdatetime, parse: "%m/%d/%y %H:%M", print: "%m"}
      crime_day:   {from: cdatetime, parse: "%m/%d/%y %H:%M", print: "%d"}"""
TYPES = {
    "crime_time": "VARCHAR",
    "address": "VARCHAR",
    "district": "INTEGER",
    "beat": "VARCHAR",
    "grid": "INTEGER",
    "description": "VARCHAR",
    "crime_id": "INTEGER",
    "latitude": "DOUBLE",
    "longitude": "DOUBLE",
    "location": "STRUCT(lat DOUBLE, lon DOUBLE)",
    "crime_year": "VARCHAR",
    "crime_month": "VARCHAR",
    "crime_day": "VARCHAR",
}
# The addresses of rows 131 to 140 of the second day.
TEN = [
    "1861 GLENROSE AVE",
    "19TH ST / P ST",
    "19TH ST / J ST",
    "2451 MEADOWVIEW RD",
    "2828 AQUINO DR",
    "NORTHGATE BLVD / RIO TIERRA AVE",
    "4500 TRUXEL RD",
    "300 CURRAN AVE",
    "18TH ST / V ST W ST ALY",
    "757 ALAMOS AVE",
]
